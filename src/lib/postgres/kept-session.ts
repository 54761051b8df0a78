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

  /** Gives the connection; disposing what is given leaves it open. @throws what opening throws */
  async connect(): Promise<Session> {
    if (this.#session?.lost.aborted === true) this.#drop();
    this.#session ??= await this.#open();
    return { ...this.#session, [Symbol.asyncDispose]: async () => {} };
  }

  /**
   * Asks; where that tells nothing over a connection that was made before, once more over a new one, which tells whether
   * anybody listens. One that told nothing is not kept.
   * @param over connects by this; it is told whether the connection was there before, and has to limit how long it takes
   * @param isTold false for an answer that is none
   * @throws what asking over a new one throws, and what `signal` was aborted with
   */
  async ask<T>(
    over: (isKept: boolean) => Promise<T>,
    signal: AbortSignal,
    isTold: (answer: T) => boolean = () => true,
  ): Promise<T> {
    for (;;) {
      const isKept = this.#isOpen;
      try {
        const answer = await over(isKept);
        if (isTold(answer)) return answer;
        this.#drop();
        if (!isKept) return answer;
      } catch (error) {
        this.#drop();
        signal.throwIfAborted();
        if (!isKept) throw error;
      }
    }
  }

  get #isOpen(): boolean {
    return this.#session !== null && !this.#session.lost.aborted;
  }

  #drop(): void {
    void this.#session?.[Symbol.asyncDispose]();
    this.#session = null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#session?.[Symbol.asyncDispose]();
    this.#session = null;
  }
}
