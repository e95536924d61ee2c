import type {
  CheckResult,
  ConfigureRequest,
  CreateResult,
  DiffResult,
  ReadResult,
  ResourceProvider,
  UpdateResult,
} from "@pulumi/pulumi/dynamic";
import * as path from "node:path";
import type * as tsNode from "ts-node";
import type { Properties, Provider } from "./lifecycle";

type TsNode = typeof tsNode;

/**
 * The only thing that Pulumi serialises: it knows the real provider's module, and nothing else. Pulumi runs a
 * copy of this class's source text in a plain Node process, so it may use no import, no `#private` and no captured
 * value; everything of substance is required there at run time, from the project as it is on disk.
 */
class Delegate implements ResourceProvider {
  constructor(private readonly module: string) {}

  /**
   * The provider process has no TypeScript loader of its own; its working directory is the program's
   * (measured with CLI 3.259.0 and SDK 3.270.0).
   */
  private real(): Provider {
    /* eslint-disable @typescript-eslint/no-require-imports -- in the provider process, not when this is serialised */
    if (this.module.endsWith(".ts") && require.extensions[".ts"] === undefined)
      (require("ts-node") as TsNode).register({ transpileOnly: true });
    return (require(require.resolve(this.module, { paths: [process.cwd()] })) as { provider: Provider }).provider;
    /* eslint-enable @typescript-eslint/no-require-imports */
  }

  /**
   * Must hand the configuration on before it returns: Pulumi keeps the provider in its cache while it awaits this, and
   * a resource beside this one calls a method at once.
   */
  configure(request: ConfigureRequest): Promise<void> {
    this.real().configure(request.config);
    return Promise.resolve();
  }

  check(olds: Properties, news: Properties): Promise<CheckResult> {
    return this.real().check(olds, news);
  }

  diff(id: string, olds: Properties, news: Properties): Promise<DiffResult> {
    return this.real().diff(id, olds, news);
  }

  create(inputs: Properties): Promise<CreateResult> {
    return this.real().create(inputs);
  }

  read(id: string, properties?: Properties): Promise<ReadResult> {
    return this.real().read(id, properties ?? {});
  }

  update(id: string, olds: Properties, news: Properties): Promise<UpdateResult> {
    return this.real().update(id, olds, news);
  }

  delete(id: string, properties: Properties): Promise<void> {
    return this.real().delete(id, properties);
  }
}

/**
 * Provider whose implementation is the export `provider` of the module at `modulePath` (absolute, without extension). The
 * state holds no place of this machine: of an installed package the module's name, by which also its next version is
 * found, wherever a package manager puts it; of a checkout the path relative to it.
 */
export function delegateTo(modulePath: string): ResourceProvider {
  const file = `${modulePath}${path.extname(__filename)}`;
  const name = `cinder-cheesecake/providers/${path.basename(modulePath, ".provider")}`;
  const beside = path.relative(process.cwd(), file);
  return new Delegate(isFoundBy(name, file) ? name : `./${beside.replaceAll(path.sep, "/")}`);
}

/** As the provider process will look for it. */
function isFoundBy(name: string, file: string): boolean {
  try {
    return require.resolve(name, { paths: [process.cwd()] }) === file;
  } catch {
    return false; // no such package is installed where the program runs
  }
}
