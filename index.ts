import { runProgram } from "./stacks";

export = runProgram();
