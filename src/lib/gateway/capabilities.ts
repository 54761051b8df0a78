/** What clients may ask about before they choose a way; fields are added, and none goes away. */
export interface Capabilities {
  /** Whether a PUT may map a block that is there. */
  readonly remoteCidPut: boolean;
  /** Whether the fleet's wallet tokens are taken, which name nobody whom they are meant for. */
  readonly eip712Auth: boolean;
  /** Which wallet tokens are taken: versions, whom one may name, and on which chains it may have been signed. */
  readonly eip712: {
    readonly versions: readonly number[];
    readonly audiences: readonly string[];
    readonly chainIds: readonly number[];
  };
  /** Whether contents are given out by their CIDs. */
  readonly trustless: boolean;
}
