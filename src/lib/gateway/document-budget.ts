import { S3Error } from "./s3-error.ts";

/**
 * Bytes of documents that are being received or parsed, in all and of one user: the largest fits twice for a user, and
 * four times. Parsing one takes several times its bytes, for a moment, and one is parsed at a time.
 */
const BYTES_MAX = 32 * 1024 * 1024;
const USER_BYTES_MAX = 16 * 1024 * 1024;

/** A document's share of the memory that all documents under way have together. */
export interface DocumentShare {
  /** @throws S3Error SlowDown where there is no room for so many more bytes at the moment */
  grow(bytes: number): void;
  /** Gives everything back. */
  release(): void;
}

/**
 * Bounds what documents under way take: each is bounded by itself, but anybody who has a key can send as many at once as
 * there are connections, and as slowly as he likes. One user cannot take the room of all others.
 */
export class DocumentBudget {
  #allBytes = 0;
  readonly #byUser = new Map<string, number>();

  open(userId: string): DocumentShare {
    let mine = 0;
    const change = (bytes: number): void => {
      mine += bytes;
      this.#allBytes += bytes;
      const users = (this.#byUser.get(userId) ?? 0) + bytes;
      if (users === 0) this.#byUser.delete(userId);
      else this.#byUser.set(userId, users);
    };
    return {
      grow: (bytes) => {
        if (this.#allBytes + bytes > BYTES_MAX || (this.#byUser.get(userId) ?? 0) + bytes > USER_BYTES_MAX) {
          throw new S3Error("SlowDown", "Too many large documents are being read; please reduce your request rate.", {
            headers: { "retry-after": "1" },
          });
        }
        change(bytes);
      },
      release: () => {
        change(-mine);
      },
    };
  }
}
