import pLimit from "p-limit";

/**
 * Runs the work over all items with bounded concurrency. After a failure none is begun any more; those under way are
 * awaited, then the first failure is thrown.
 */
export async function pooled<T, R>(lanes: number, items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const limit = pLimit(lanes);
  let failure: { readonly error: unknown } | undefined;
  const one = async (item: T): Promise<R> => {
    if (failure !== undefined) throw failure.error;
    try {
      return await work(item);
    } catch (error) {
      failure ??= { error };
      throw error;
    }
  };
  const results = await Promise.allSettled(items.map((item) => limit(() => one(item))));
  if (failure !== undefined) throw failure.error;
  return results.map((result) => (result as PromiseFulfilledResult<R>).value);
}
