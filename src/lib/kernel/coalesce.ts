/**
 * Joins calls into batches: a call goes with the next batch, never with one that has begun before it, and one batch runs
 * at a time. Whoever calls is answered when its batch is done; a batch that fails fails for all of it.
 */
export function coalesce<T>(
  options: { readonly batchMax: number },
  run: (items: readonly T[]) => Promise<void>,
): (items: readonly T[]) => Promise<void> {
  interface Call {
    readonly items: readonly T[];
    readonly done: PromiseWithResolvers<void>;
  }
  let waiting: Call[] = [];
  let isRunning = false;
  const takeBatch = (): readonly Call[] => {
    let size = 0;
    const end = waiting.findIndex(({ items }, at) => {
      size += items.length;
      return at > 0 && size > options.batchMax;
    });
    const batch = end === -1 ? waiting : waiting.slice(0, end);
    waiting = end === -1 ? [] : waiting.slice(end);
    return batch;
  };
  const runAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const batch = takeBatch();
      try {
        await run(batch.flatMap(({ items }) => items));
        for (const { done } of batch) done.resolve();
      } catch (error) {
        for (const { done } of batch) done.reject(error);
      }
    }
    isRunning = false;
  };
  return async (items) => {
    if (items.length === 0) return;
    const call: Call = { items, done: Promise.withResolvers<void>() };
    waiting.push(call);
    if (!isRunning) {
      isRunning = true;
      void runAll();
    }
    await call.done.promise;
  };
}
