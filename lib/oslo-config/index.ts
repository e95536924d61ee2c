export {
  addListItem,
  escapeSubstitution,
  get,
  getAll,
  listItems,
  options,
  remove,
  removeListItem,
  removeSection,
  replaceListItem,
  sections,
  set,
} from "./edit";
export { parse, joinLines } from "./parse";
