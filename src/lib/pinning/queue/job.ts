/** A content whose pin is to be made agree with what users want, and the claim under which one worker does that. */
export interface ClaimedJob {
  /** As `contentKey` gives it. */
  readonly cid: string;
  readonly claim: string;
  /** Of the wishes that the claim is about; a number of the database. */
  readonly revision: string;
  /** The content that it takes the place of; null for none. */
  readonly replaces: string | null;
  /** Tries that failed, and looks that found it on its way, since the wishes changed. */
  readonly attempts: number;
  readonly looks: number;
  /** Milliseconds since the wishes changed, by the database's clock. */
  readonly ageMs: number;
}

/** What users want of a content, by their rows. */
export interface ContentWish {
  readonly cid: string;
  /** Rows that are queued, being pinned or pinned. */
  readonly wanted: number;
  /** Those that are not told that it is pinned, and those of which nobody knows the size. */
  readonly waiting: number;
  readonly unmeasured: number;
  /** Of another row of the same content, worked out from its blocks; null where nobody did. */
  readonly measuredBytes: bigint | null;
  /** Of the oldest row. */
  readonly name: string;
  /** Of the newest row: where its content was when it was asked for. */
  readonly origins: readonly string[];
}

/** What became of a claimed job. */
export type JobOutcome =
  /** The pinset agrees. Nobody wants the content. */
  | { readonly kind: "gone" }
  /** The pinset agrees, and everybody is told. @property sizeBytes null where it was known to all */
  | { readonly kind: "pinned"; readonly sizeBytes: bigint | null }
  /** Peers are at work, or something failed: it is looked at again. */
  | {
      readonly kind: "later";
      /** What users are told; null leaves them what they have. */
      readonly rows: { readonly status: "pinning" | "pinned"; readonly details: string } | null;
      readonly delayMs: number;
      /** What went wrong, for operators; null where nothing did. */
      readonly error: string | null;
    }
  /** Given up: users are told, and an operator can drive it again. */
  | { readonly kind: "dead"; readonly error: string; readonly details: string };
