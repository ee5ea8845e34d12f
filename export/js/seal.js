/**
 * Whether a file arrived as it was exported: its CRC-32, with the checksum's own eight digits read
 * as zeros, is the one in its metadata.
 */

const DIGITS = 8;
const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit += 1) {
    rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  }
  return rest;
});

/**
 * @param {Uint8Array} file
 * @param {{text: string, bytes: Uint8Array}} checksum the digits, and where they are in the file
 */
export function intact(file, { text, bytes }) {
  if (bytes.length !== DIGITS) {
    return false;
  }
  const own = bytes.byteOffset - file.byteOffset;
  let rest = crc32(0, file.subarray(0, own));
  rest = crc32(rest, new Uint8Array(DIGITS).fill("0".charCodeAt(0)));
  rest = crc32(rest, file.subarray(own + DIGITS));
  return rest.toString(16).padStart(DIGITS, "0") === text;
}

/**
 * @param {number} before CRC-32 of the bytes before, 0 at the beginning
 * @param {Uint8Array} bytes
 * @returns {number} unsigned
 */
export function crc32(before, bytes) {
  let rest = ~before;
  for (const byte of bytes) {
    rest = TABLE[(rest ^ byte) & 255] ^ (rest >>> 8);
  }
  return ~rest >>> 0;
}
