/* What goes wrong is said on the page. */

import * as api from "./api.js";
import { TEXT } from "./text.js";

const shown = document.getElementById("problem");

export function showProblem(text) {
  shown.textContent = text;
  shown.hidden = !text;
}

/* The result of `work`; undefined where the node refuses, which the page then says. */
export async function guard(work, explain = (problem) => problem.message) {
  try {
    const result = await work();
    showProblem("");
    return result;
  } catch (problem) {
    if (problem.name === "AbortError") return undefined;
    if (!(problem instanceof api.Refused)) throw problem;
    showProblem(problem.code === api.AWAY ? TEXT.notReachable : explain(problem));
    return undefined;
  }
}
