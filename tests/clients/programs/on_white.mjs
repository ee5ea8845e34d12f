// FILE: lays the RGBA pixels of a file on white, in place.
import { readFileSync, writeFileSync } from "node:fs";
import { onWhite } from "../../../export/js/pixels.js";

const path = process.argv[2];
const rgba = readFileSync(path);
onWhite(rgba);
writeFileSync(path, rgba);
