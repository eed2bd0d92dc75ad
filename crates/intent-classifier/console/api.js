// Calls to the server that this page came from, with the token when one is needed.

const TOKEN_KEY = "intent-classifier-token";
let askForToken = () => {};

/** Calls `listener` with a reason when the server wants to know who asks. */
export function onTokenNeeded(listener) {
  askForToken = listener;
}

export function setToken(token) {
  if (token) sessionStorage.setItem(TOKEN_KEY, token);
  else sessionStorage.removeItem(TOKEN_KEY);
}

export const hasToken = () => sessionStorage.getItem(TOKEN_KEY) !== null;

/** A failure in words; `status` is 0 when the server did not answer, `waitSeconds` how long not to ask again. */
export class Failure extends Error {
  constructor(status, message, waitSeconds = 0) {
    super(message);
    this.status = status;
    this.waitSeconds = waitSeconds;
  }
}

/** JSON Web Tokens have three parts; whatever else is given is an API key. */
function credentials(token) {
  if (!token) return {};
  return token.split(".").length === 3 ? { Authorization: `Bearer ${token}` } : { "X-API-Key": token };
}

/** Resolves to the answer; an error of the server becomes a `Failure` that says what to do. */
export async function call(method, path, body, headers = {}) {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const request = { method, headers: { ...headers, ...credentials(token) } };
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(new URL(path, document.baseURI), request);
  } catch {
    throw new Failure(0, "The server does not answer. Is it running?", 2);
  }
  const content = await response.json().catch(() => ({}));
  // Health tells what is wrong by 503 and a body of its own.
  if (response.ok || (path.startsWith("health") && content.status && !content.type)) return content;
  const failure = new Failure(response.status, inWords(response, content), Number(response.headers.get("Retry-After") ?? 0));
  // What was asked with a token that has been replaced meanwhile says nothing of the new one.
  if (response.status === 401 && token === sessionStorage.getItem(TOKEN_KEY)) askForToken(hasToken() ? failure.message : undefined);
  throw failure;
}

export const get = (path) => call("GET", path);

function inWords(response, problem) {
  if (response.status === 401 && !hasToken()) return "Only those whom the server knows see this: give a token.";
  const fields = (problem.errors ?? []).map((error) => `${error.field} ${error.message}`).join("; ");
  const detail = fields || problem.detail || problem.title || `The server answered ${response.status}.`;
  const wait = response.headers.get("Retry-After");
  return sentence(wait ? `${detail}; try again in ${wait} s` : detail);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
