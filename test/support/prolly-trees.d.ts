// The package has no types; this is what the benchmark uses of it.
declare module "prolly-trees/map" {
  import type { CID } from "multiformats/cid";

  export interface ProllyItem {
    readonly key: string;
    readonly value: unknown;
  }
  export interface ProllyBlock {
    readonly cid: CID;
    readonly bytes: Uint8Array;
  }
  export interface ProllyNode {
    readonly block: Promise<ProllyBlock>;
    bulk(changes: readonly ProllyItem[]): Promise<{
      readonly root: ProllyNode;
      readonly blocks: readonly ProllyBlock[];
    }>;
  }
  interface ProllyOptions {
    readonly get: (cid: CID) => Promise<unknown>;
    readonly cache: unknown;
    readonly chunker: unknown;
    readonly codec: unknown;
    readonly hasher: unknown;
    readonly compare: unknown;
    readonly list: readonly ProllyItem[];
    readonly sorted?: boolean;
  }
  export function create(options: ProllyOptions): AsyncGenerator<ProllyNode>;
}
declare module "prolly-trees/cache" {
  export const nocache: unknown;
  export const global: unknown;
}
declare module "prolly-trees/utils" {
  export function bf(factor: number): unknown;
  export const simpleCompare: unknown;
}
