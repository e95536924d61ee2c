"use strict";
process.env.TS_NODE_TRANSPILE_ONLY ??= "true"; // types are checked once, by `npm run types`
module.exports = {
  require: ["ts-node/register"],
  extension: ["ts"],
  timeout: 20_000,
  forbidOnly: Boolean(process.env.CI),
  exit: false,
};
