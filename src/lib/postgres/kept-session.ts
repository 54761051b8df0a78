import type { Session } from "./session.ts";

/**
 * One connection for whoever looks at a server again and again: to connect takes many times as long as to look. A connection
 * that was lost is made anew. Disposing ends it.
 */
export class KeptSession implements AsyncDisposable {
  readonly #open: () => Promise<Session>;
  #session: Session | null = null;

  constructor(open: () => Promise<Session>) {
    this.#open = open;
  }

  /** True where a connection is there that was made before. */
  get isOpen(): boolean {
    return this.#session !== null && !this.#session.lost.aborted;
  }

  /** Gives the connection; disposing what is given leaves it open. @throws what opening throws */
  async connect(): Promise<Session> {
    if (this.#session?.lost.aborted === true) this.drop();
    this.#session ??= await this.#open();
    return { ...this.#session, [Symbol.asyncDispose]: async () => {} };
  }

  /** Lets the connection go: the next look makes another one. */
  drop(): void {
    void this.#session?.[Symbol.asyncDispose]();
    this.#session = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
    this.#session = null;
  }
}
