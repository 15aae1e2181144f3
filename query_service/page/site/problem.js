/* What goes wrong is said on the page. */

import * as api from "./api.js";
import { TEXT } from "./text.js";

const $ = (id) => document.getElementById(id);

api.waiting.addEventListener("change", () => {
  $("busy").textContent = api.waiting.count ? TEXT.busy : "";
});

export function showProblem(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

/* The result of `work`; undefined where the node refuses, which the page then says. */
export async function guard(work, explain = explained) {
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

/* A refusal in words. */
export function explained(problem) {
  if (problem.isAway) return { [api.AWAY]: TEXT.notReachable, [api.BROKEN]: TEXT.brokeOff }[problem.code] ?? TEXT.storeAway;
  if (problem.status === 401) return TEXT.sessionEnded;
  if (problem.code === "busy" || problem.code === "deadline") return TEXT.stillBusy;
  return problem.message;
}
