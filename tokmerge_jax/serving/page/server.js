// Requests to the server, which are repeated while it is away or busy.

const WAITS = [1, 2, 4, 5]; // seconds, after the first, second ... attempt; then the last one
const AWAY = "The server cannot be reached. Is `tokmerge serve` still running? Trying again …";

/** An answer that repeating would not change: `status` of HTTP, and a sentence. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/**
 * Asks until the server answers; throws a Refusal, or an AbortError.
 *
 * `waiting` receives a sentence before each pause, and "" after an answer.
 */
export async function ask(path, { params = "", body, signal, waiting }) {
  for (let attempt = 0; ; attempt++) {
    const answer = await attempted(`${path}?${params}`, { signal, body });
    if (answer?.ok) {
      waiting("");
      return answer.json();
    }
    const sentence = answer ? await explained(answer) : AWAY;
    if (answer && ![429, 502, 503, 504].includes(answer.status)) {
      waiting("");
      throw new Refusal(answer.status, sentence);
    }
    const usual = WAITS[Math.min(attempt, WAITS.length - 1)];
    const seconds = Number(answer?.headers.get("Retry-After")) || usual;
    waiting(answer ? `The server is busy: ${sentence}. Trying again in ${seconds} s …` : sentence);
    await pause(seconds, signal);
  }
}

/** The response, or undefined if the server cannot be reached. */
async function attempted(url, { signal, body }) {
  try {
    const headers = body ? { "Content-Type": body.type } : {};
    return await fetch(url, { method: body ? "POST" : "GET", body, headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
  }
}

/** The server's sentence about an error. */
async function explained(answer) {
  try {
    return String((await answer.json()).error);
  } catch {
    return `it answered ${answer.status} ${answer.statusText}`;
  }
}

function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
