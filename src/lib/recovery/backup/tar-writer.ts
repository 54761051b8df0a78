/** POSIX ustar, as far as flat files need it. */
const RECORD = 512;
const MODE = "0000600";
const CHECKSUM_AT = 148;
const CHECKSUM_BYTES = 8;

function field(header: Buffer, at: number, text: string): void {
  header.write(text, at, "latin1");
}

/** The header of a file of an archive. @param name at most 99 letters, no directory */
export function tarHeader(name: string, bytes: number): Buffer {
  const header = Buffer.alloc(RECORD);
  field(header, 0, name);
  field(header, 100, MODE);
  field(header, 108, "0000000");
  field(header, 116, "0000000");
  field(header, 124, bytes.toString(8).padStart(11, "0"));
  field(header, 136, "00000000000");
  header.fill(0x20, CHECKSUM_AT, CHECKSUM_AT + CHECKSUM_BYTES);
  field(header, 156, "0");
  field(header, 257, "ustar\u000000");
  const sum = header.reduce((total, byte) => total + byte, 0);
  field(header, CHECKSUM_AT, `${sum.toString(8).padStart(6, "0")}\0 `);
  return header;
}

/** What comes behind the content of a file of that size. */
export function tarPadding(bytes: number): Buffer {
  return Buffer.alloc((RECORD - (bytes % RECORD)) % RECORD);
}

/** What an archive ends with. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * RECORD);
}
