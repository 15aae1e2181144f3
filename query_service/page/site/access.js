/* Logging in and out, and what the page says about it. */

import * as api from "./api.js";
import { TEXT } from "./text.js";

const $ = (id) => document.getElementById(id);

export class Access extends EventTarget {
  constructor() {
    super();
    $("log-in").addEventListener("click", () => this.open());
    $("log-in-cancel").addEventListener("click", () => $("log-in-dialog").close());
    $("log-out").addEventListener("click", () => this.logOut());
    $("log-in-form").addEventListener("submit", (event) => this.logIn(event));
  }

  /* `session`: what the node says about this visitor. */
  show(session) {
    $("node").textContent = session.node;
    document.title = `${session.node} – Im Hearing`;
    $("log-in").hidden = session.role === "owner";
    $("log-out").hidden = $("role").hidden = !session.session;
    $("role").textContent = session.session ? TEXT.signedIn[session.role] : "";
    this.hasPassword = session.login;
    if (!session.role && !this.wasAsked) this.open();
    this.wasAsked = true;
  }

  open() {
    $("log-in-problem").textContent = this.hasPassword ? "" : TEXT.noPassword;
    $("log-in-warning").hidden = isSecureContext;
    $("log-in-warning").textContent = TEXT.loginPlain;
    $("account").value = $("node").textContent; // password managers keep one password per name
    $("password").value = "";
    $("log-in-dialog").showModal();
  }

  async logIn(event) {
    event.preventDefault();
    try {
      await api.logIn($("password").value);
    } catch (problem) {
      if (!(problem instanceof api.Refused)) throw problem;
      const wait = Math.ceil(problem.retryAfter);
      $("log-in-problem").textContent = problem.status === 429 ? TEXT.loginWait(wait) : TEXT.loginFailed;
      return;
    }
    $("log-in-dialog").close();
    this.dispatchEvent(new Event("change"));
  }

  async logOut() {
    await api.logOut();
    location.reload();
  }
}
