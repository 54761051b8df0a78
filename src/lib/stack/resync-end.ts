/**
 * How long what is held at the primary may take to be let go, once the work is to stop. One that is frozen as a whole lets
 * nobody in, which is known earlier, by the time that a connection may take.
 */
const LETTING_GO_MS = 30_000;

/**
 * When connections to the primary end: those of the work when it is to stop, and those that let go of what it held some
 * time after that. A primary that is frozen would keep either for ever; what it holds still, the next run collects.
 */
export class ResyncEnd {
  readonly #work = new AbortController();
  #lettingGo: AbortSignal | null = null;

  /** Ends the work where a signal says so. */
  by(signal: AbortSignal): void {
    const end = (): void => {
      this.#work.abort(signal.reason);
    };
    if (signal.aborted) end();
    else signal.addEventListener("abort", end, { once: true });
  }

  /** Of a connection that is made now. */
  readonly signal = (): AbortSignal => {
    if (!this.#work.signal.aborted) return this.#work.signal;
    this.#lettingGo ??= AbortSignal.timeout(LETTING_GO_MS);
    return this.#lettingGo;
  };
}
