import { randomBytes, randomInt, randomUUID } from "node:crypto";

/** Randomness as a dependency, so that tests can hand in a seeded one. */
export interface Random {
  bytes(length: number): Uint8Array;
  /** A whole number from 0 up to, not including, `below`. */
  int(below: number): number;
  uuid(): string;
}

/** The operating system's cryptographic random source. */
export const systemRandom: Random = {
  bytes: (length) => new Uint8Array(randomBytes(length)),
  int: (below) => randomInt(below),
  uuid: () => randomUUID(),
};
