import { keccak_256 } from "@noble/hashes/sha3.js";
import { concatBytes, hexToBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import { assert } from "../../kernel/assert.ts";

/** One member of a struct. */
interface Member {
  readonly name: string;
  /** `string`, `address`, `uint256`, `bytes32`, or the name of another struct. */
  readonly type: string;
}

/** Structs by name, as EIP-712 writes them down. */
export type StructTypes = Readonly<Record<string, readonly Member[]>>;

/** A struct's members by name: texts (`address` and `bytes32` in hex with 0x), whole numbers, other structs. */
export interface StructValue {
  readonly [member: string]: string | bigint | StructValue;
}

const WORD_BYTES = 32;

function structsIn(types: StructTypes, name: string, found: Set<string> = new Set()): ReadonlySet<string> {
  if (types[name] === undefined || found.has(name)) return found;
  found.add(name);
  for (const { type } of types[name]) structsIn(types, type, found);
  return found;
}

/** `Mail(Person from,Person to,string contents)Person(string name,address wallet)`: itself, then what it refers to by name. */
export function encodeType(types: StructTypes, name: string): string {
  const others = [...structsIn(types, name)].filter((other) => other !== name).toSorted();
  return [name, ...others]
    .map(
      (struct) => `${struct}(${types[struct]?.map(({ type, name: member }) => `${type} ${member}`).join(",") ?? ""})`,
    )
    .join("");
}

function wordOfNumber(value: bigint): Uint8Array {
  assert(value >= 0n && value < 1n << 256n, "a uint256 has 256 bits");
  return hexToBytes(value.toString(16).padStart(WORD_BYTES * 2, "0"));
}

function wordOfHex(hex: string, bytes: number): Uint8Array {
  const raw = hexToBytes(hex.slice(2));
  assert(raw.length === bytes, `${bytes} bytes in hex`);
  const word = new Uint8Array(WORD_BYTES);
  word.set(raw, WORD_BYTES - bytes);
  return word;
}

function wordOf(type: string, value: string | bigint): Uint8Array {
  if (typeof value === "bigint") {
    assert(type === "uint256", `a ${type} is no number`);
    return wordOfNumber(value);
  }
  if (type === "string") return keccak_256(utf8ToBytes(value));
  assert(type === "address" || type === "bytes32", `a ${type} is no text`);
  return wordOfHex(value, type === "address" ? 20 : WORD_BYTES);
}

/** Makes the `hashStruct` of EIP-712 for one struct; the hash of its type is worked out this once. */
export function structHasher(types: StructTypes, name: string): (value: StructValue) => Uint8Array {
  const typeHash = keccak_256(utf8ToBytes(encodeType(types, name)));
  const encoders = (types[name] ?? []).map(({ name: member, type }) => {
    const nested = types[type] === undefined ? null : structHasher(types, type);
    return (value: StructValue): Uint8Array => {
      const given = value[member];
      assert(given !== undefined, `${name} has ${member}`);
      if (nested === null) {
        assert(typeof given !== "object", `${name}.${member} is a ${type}`);
        return wordOf(type, given);
      }
      assert(typeof given === "object", `${name}.${member} is a ${type}`);
      return nested(given);
    };
  });
  return (value) => keccak_256(concatBytes(typeHash, ...encoders.map((encode) => encode(value))));
}

/** What a wallet signs: 32 bytes. @param domain the hash of the struct `EIP712Domain` */
export function signingDigest(domain: Uint8Array, struct: Uint8Array): Uint8Array {
  return keccak_256(concatBytes(Uint8Array.of(0x19, 0x01), domain, struct));
}
