/**
 * How many requests the clients of this process sent again. Each client repeats what it may by itself; this is all that
 * anybody else hears of it.
 */
let count = 0;

export const countRetry = (): void => void (count += 1);
export const retries = (): number => count;
