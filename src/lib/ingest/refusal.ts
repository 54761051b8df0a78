/** Why a block was not taken, as the client is answered. */
export class IngestRefusal extends Error {
  override readonly name = "IngestRefusal";
  readonly status: number;
  /** Further members of the answer; never a secret. */
  readonly details: Readonly<Record<string, string>>;
  /** Null where trying again is of no use. */
  readonly retryAfterSeconds: number | null;

  constructor(
    status: number,
    message: string,
    more: {
      readonly details?: Readonly<Record<string, string>>;
      readonly retryAfterSeconds?: number;
    } & ErrorOptions = {},
  ) {
    super(message, more.cause === undefined ? {} : { cause: more.cause });
    this.status = status;
    this.details = more.details ?? {};
    this.retryAfterSeconds = more.retryAfterSeconds ?? null;
  }
}
