export { buildReport } from "./build";
export { reportAsHtml } from "./html";
export { reportAsMarkdown } from "./markdown";
export type { Report } from "./schema";
export { reportSchema } from "./schema";
export { folderWith, writeReport } from "./write";
