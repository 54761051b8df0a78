import { UnixFS } from "ipfs-unixfs";
import { varint } from "multiformats";

// protons-runtime (5.6 to 8.0, which ipfs-unixfs writes its nodes with) writes numbers from 2^31 to 2^32 - 1 as zeros: the
// low half of a number becomes a signed 32 bit value on its way, and a negative one is taken for small. A file of 2 to
// 4 GiB, or one with such a child, would get a root that no IPFS tool reads, and half of the time not even we.
const LOWEST_WRONG = 2n ** 31n;
const HIGHEST_WRONG = 2n ** 32n - 1n;

/** Tags of https://specs.ipfs.tech/unixfs/#data-field: number of the field and how it is written. */
const TAGS = { type: 0x08, data: 0x12, fileSize: 0x18, blockSize: 0x20 } as const;
const TYPE_FILE = 2;

function field(tag: number, value: number | bigint): Uint8Array {
  const number = Number(value);
  return Buffer.concat([Uint8Array.of(tag), varint.encodeTo(number, new Uint8Array(varint.encodingLength(number)))]);
}

function marshalFile(file: UnixFS): Uint8Array {
  const { data, blockSizes } = file;
  return Buffer.concat([
    field(TAGS.type, TYPE_FILE),
    ...(data === undefined ? [] : [field(TAGS.data, data.byteLength), data]),
    field(TAGS.fileSize, file.fileSize()),
    ...blockSizes.map((size) => field(TAGS.blockSize, size)),
  ]);
}

function isWrittenWrong(size: bigint): boolean {
  return size >= LOWEST_WRONG && size <= HIGHEST_WRONG;
}

// As it came, however often it is mended; it is only ever called on a node.
const asItCame: (this: UnixFS) => Uint8Array = Reflect.get(UnixFS.prototype, "marshal");

function marshalRightly(this: UnixFS): Uint8Array {
  const isMeant = this.type === "file" && [this.fileSize(), ...this.blockSizes].some(isWrittenWrong);
  return isMeant ? marshalFile(this) : asItCame.call(this);
}

/**
 * Makes ipfs-unixfs write all sizes of files right, in the importer as well, which takes no other way to write them. Files
 * of ours have neither mode nor time.
 */
export function mendUnixFsMarshal(): void {
  UnixFS.prototype.marshal = marshalRightly;
}
