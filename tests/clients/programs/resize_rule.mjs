// Prints the name of the resize rule.
import { RESIZE_RULE } from "../../../export/js/pixels.js";

console.log(RESIZE_RULE);
