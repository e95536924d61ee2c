/**
 * Variables for a program that is started on this machine: those that it needs to run, and none of this process's
 * credentials. Over SSH a program gets none of them either.
 */
export function childEnvironment(): Record<string, string> {
  const names = ["PATH", "HOME", "LANG", "LC_ALL", "TZ", "USER", "TMPDIR", "NODE_OPTIONS"];
  // eslint-disable-next-line no-restricted-properties -- surroundings of a started program, not configuration
  const surroundings = process.env;
  return Object.fromEntries(
    names.flatMap((name) => (surroundings[name] === undefined ? [] : [[name, surroundings[name]]])),
  );
}
