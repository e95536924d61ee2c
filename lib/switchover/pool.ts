import pLimit from "p-limit";

/** Runs the work over all items with bounded concurrency; all are awaited, then the first failure is thrown. */
export async function pooled<T, R>(lanes: number, items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const limit = pLimit(lanes);
  const results = await Promise.allSettled(items.map((item) => limit(() => work(item))));
  const failed = results.find((result): result is PromiseRejectedResult => result.status === "rejected");
  if (failed !== undefined) throw failed.reason;
  return results.map((result) => (result as PromiseFulfilledResult<R>).value);
}
