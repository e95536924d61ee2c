"use strict";
// For processes that are started a hundred times: what ts-node does at each start, kept in the folder CHEESECAKE_TRANSPILED.
const { createHash } = require("node:crypto");
const { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } = require("node:fs");
const path = require("node:path");

const folder = process.env["CHEESECAKE_TRANSPILED"];
mkdirSync(folder, { recursive: true });

require.extensions[".ts"] = (module, file) => {
  const made = path.join(folder, `${createHash("sha256").update(file).digest("hex").slice(0, 24)}.js`);
  if (!existsSync(made)) {
    const { ModuleKind, ScriptTarget, transpileModule } = require("typescript");
    const compilerOptions = {
      module: ModuleKind.CommonJS,
      target: ScriptTarget.ES2023,
      esModuleInterop: true,
      useDefineForClassFields: false,
      inlineSourceMap: true,
    };
    const { outputText } = transpileModule(readFileSync(file, "utf8"), { compilerOptions, fileName: file });
    writeFileSync(`${made}.${process.pid}`, outputText);
    renameSync(`${made}.${process.pid}`, made); // it may be killed meanwhile
  }
  module._compile(readFileSync(made, "utf8"), file);
};
