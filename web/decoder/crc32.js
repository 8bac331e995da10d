const TABLE = new Uint32Array(256);
for (let i = 0; i < 256; i++) {
  let register = i;
  for (let bit = 0; bit < 8; bit++) register = register & 1 ? (register >>> 1) ^ 0xedb88320 : register >>> 1;
  TABLE[i] = register;
}

/**
 * The CRC-32 of PNG and zlib.
 *
 * @param {Uint8Array} bytes
 * @param {number} [previous] the CRC-32 of the bytes before these, so that data can come in pieces
 * @returns {number} unsigned 32-bit integer
 */
export function crc32(bytes, previous = 0) {
  let register = ~previous;
  for (let i = 0; i < bytes.length; i++) register = TABLE[(register ^ bytes[i]) & 255] ^ (register >>> 8);
  return ~register >>> 0;
}
