#!/usr/bin/env node
// `cheesecake` from anywhere: main.ts with the project's own ts-node, whatever folder it's called in.
"use strict";
const path = require("node:path");

require("ts-node").register({ transpileOnly: true, project: path.join(__dirname, "..", "tsconfig.json") });
require("./main.ts");
