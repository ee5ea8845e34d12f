/**
 * PNG files without their damaged extras.
 */

import { crc32 } from "../js/seal.js";

const SIGNATURE = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");

/**
 * The chunks that a picture can do without and whose checksum is wrong are left out, as in training.
 *
 * @param {Buffer} file
 * @returns {Buffer} the same file if nothing is wrong, or if it is no PNG
 */
export function withoutDamagedExtras(file) {
  if (!file.subarray(0, 8).equals(SIGNATURE)) {
    return file;
  }
  const parts = [file.subarray(0, 8)];
  let whole = true;
  for (let at = 8; at < file.length;) {
    const end = at + 12 + (at + 8 <= file.length ? file.readUInt32BE(at) : 0);
    if (end > file.length) {
      parts.push(file.subarray(at));
      break;
    }
    // The case of its first letter tells whether a chunk is needed to decode the picture.
    const needed = !(file[at + 4] & 0x20);
    if (needed || crc32(0, file.subarray(at + 4, end - 4)) === file.readUInt32BE(end - 4)) {
      parts.push(file.subarray(at, end));
    } else {
      whole = false;
    }
    at = end;
  }
  return whole ? file : Buffer.concat(parts);
}
