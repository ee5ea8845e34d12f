// Prints the error for an image of one pixel by a million.
import { stretch } from "../../../export/js/pixels.js";

try {
  stretch(1, 1e6, 224, []);
} catch (error) {
  console.log(error.message);
}
