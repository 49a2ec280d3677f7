// ZIP archives (APPNOTE.TXT, sections 4.3 to 4.5), without ZIP64.

/** Bytes of one archive: far below the 4 GB that ZIP can address without ZIP64. */
const MAX_ARCHIVE = 2e9;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0xedb88320 : byte >>> 1;
  return byte;
});

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = CRC_TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** A member that is stored as it is. */
const storedMember = (name, bytes) => ({ name, method: 0, crc: crc32(bytes), size: bytes.length, content: new Blob([bytes]), packed: bytes.length });

/** The members of an archive, still compressed. */
function readArchive(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (view.getUint32(end, true) !== 0x06054b50) end--;
  const members = [];
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const [crc, packed, size] = [16, 20, 24].map((offset) => view.getUint32(at + offset, true));
    const [named, extra, comment] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    members.push({
      name: new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + named)),
      method: view.getUint16(at + 10, true),
      crc,
      size,
      packed,
      content: new Blob([bytes.subarray(start, start + packed)]),
    });
    at += 46 + named + extra + comment;
  }
  return members;
}

/** An archive of members; their contents are blobs, which the browser may keep on disk. */
function writeArchive(members) {
  const [files, directory] = [[], []];
  let [at, listed] = [0, 0];
  for (const { name, method, crc, size, packed, content } of members) {
    const label = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, 1 January 1980: the same results give the same archive.
    const common = [[20, 2], [0x0800, 2], [method, 2], [0, 2], [0x21, 2], [crc, 4], [packed, 4], [size, 4], [label.length, 2], [0, 2]];
    files.push(littleEndian([[0x04034b50, 4], ...common]), label, content);
    directory.push(littleEndian([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [at, 4]]), label);
    at += 30 + label.length + packed;
    listed += 46 + label.length;
  }
  const end = littleEndian([[0x06054b50, 4], [0, 2], [0, 2], [members.length, 2], [members.length, 2], [listed, 4], [at, 4], [0, 2]]);
  return new Blob([...files, ...directory, end], { type: "application/zip" });
}

/** Fields of [value, bytes] as bytes. */
function littleEndian(fields) {
  const view = new DataView(new ArrayBuffer(fields.reduce((sum, [, bytes]) => sum + bytes, 0)));
  let at = 0;
  for (const [value, bytes] of fields) {
    if (bytes === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += bytes;
  }
  return new Uint8Array(view.buffer);
}
