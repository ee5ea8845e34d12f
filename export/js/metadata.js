/**
 * The metadata of an ONNX file, without a protobuf library: onnxruntime's JavaScript interfaces
 * do not show it.
 *
 * An ONNX file is one protobuf message, ModelProto: a sequence of (tag, value), where a tag is
 * field number * 8 + wire type. Of its fields only `metadata_props` (pairs of strings) are read;
 * the graph and its weights are stepped over unread. Files may be hostile: every length is checked
 * against what is there before it is used, and nothing is allocated by what a file claims.
 */

const VARINT = 0;
const FIXED64 = 1;
const BYTES = 2;
const FIXED32 = 5;

const IR_VERSION = 1;
const GRAPH = 7;
const METADATA_PROPS = 14;
const KEY = 1;
const VALUE = 2;

const MAX_ENTRIES = 1000;

/**
 * @param {Uint8Array} file an ONNX file
 * @returns {Map<string, {text: string, bytes: Uint8Array}>} its metadata_props: key -> value, as
 *   text and as the part of the file that holds it
 * @throws {Error} one line: not an ONNX file, truncated, or malformed
 */
export function readMetadata(file) {
  const found = new Map();
  let irVersion = false;
  let graph = false;
  for (const field of fields(file)) {
    if (field.number === IR_VERSION && field.wire === VARINT) {
      irVersion = true;
    } else if (field.number === GRAPH && field.wire === BYTES) {
      graph = true;
    } else if (field.number === METADATA_PROPS && field.wire === BYTES) {
      const { key, value } = readPair(field.bytes);
      if (found.has(key) || found.size >= MAX_ENTRIES) {
        throw new Error("malformed ONNX file: metadata repeats a key or has too many");
      }
      found.set(key, value);
    }
  }
  if (!irVersion || !graph) {
    throw new Error("not an ONNX file");
  }
  return found;
}

function readPair(pair) {
  let key = "";
  let value = { text: "", bytes: pair.subarray(0, 0) };
  for (const { number, wire, bytes } of fields(pair)) {
    if (wire === BYTES && number === KEY) {
      key = text(bytes);
    } else if (wire === BYTES && number === VALUE) {
      value = { text: text(bytes), bytes };
    }
  }
  return { key, value };
}

function text(bytes) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new Error("malformed ONNX file: metadata is not UTF-8 text");
  }
}

function* fields(message) {
  let at = 0;
  while (at < message.length) {
    const tag = varint(message, at);
    const number = Math.floor(tag.value / 8);
    const wire = tag.value % 8;
    let start = tag.end;
    let end;
    if (wire === VARINT) {
      end = varint(message, start).end;
    } else if (wire === BYTES) {
      const length = varint(message, start);
      start = length.end;
      end = start + length.value;
    } else if (wire === FIXED64 || wire === FIXED32) {
      end = start + (wire === FIXED64 ? 8 : 4);
    } else {
      throw new Error("not an ONNX file");
    }
    if (number === 0) {
      throw new Error("not an ONNX file");
    }
    if (end > message.length) {
      throw new Error("not an ONNX file, or a truncated one");
    }
    yield { number, wire, bytes: message.subarray(start, end) };
    at = end;
  }
}

/** A number of seven bits per byte, least first; lengths above 2^53 are inexact and too large. */
function varint(message, start) {
  let value = 0;
  for (let at = start; at < start + 10; at += 1) {
    if (at >= message.length) {
      throw new Error("not an ONNX file, or a truncated one");
    }
    value += (message[at] & 0x7f) * 2 ** (7 * (at - start));
    if (message[at] < 0x80) {
      return { value, end: at + 1 };
    }
  }
  throw new Error("not an ONNX file");
}
