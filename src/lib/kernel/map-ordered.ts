/**
 * Maps a stream or list with up to `concurrency` calls in flight, and gives the results in the order of the source. Holds
 * no more than `concurrency` items at a time. The first error ends the stream.
 */
export async function* mapOrdered<T, R>(
  source: AsyncIterable<T> | Iterable<T>,
  concurrency: number,
  map: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const inFlight: Promise<R>[] = [];
  try {
    for await (const item of source) {
      const result = map(item);
      // A later item may fail while an earlier one is awaited; its error is thrown when its turn comes.
      result.catch(() => {});
      inFlight.push(result);
      const oldest = inFlight.length >= concurrency ? inFlight.shift() : undefined;
      if (oldest !== undefined) yield await oldest;
    }
    for (let oldest = inFlight.shift(); oldest !== undefined; oldest = inFlight.shift()) yield await oldest;
  } finally {
    await Promise.allSettled(inFlight);
  }
}
