// FILE...: prints a line of JSON per model file, its contract or the error.
import { readFileSync } from "node:fs";
import { readContract } from "../../../export/js/contract.js";

for (const path of process.argv.slice(2)) {
  let answer;
  try {
    answer = { contract: readContract(readFileSync(path)) };
  } catch (error) {
    answer = { kind: error.constructor.name, error: error.message };
  }
  console.log(JSON.stringify(answer));
}
