// Requests with the token, if there is one, and server-sent events. EventSource cannot send a token, so `fetch` reads
// the stream.

const KEY = "qtfeat-token";
export const setToken = (value) => sessionStorage.setItem(KEY, value);

function headers() {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
}

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function open(path, signal) {
  const answer = await fetch(path, { headers: headers(), cache: "no-store", signal });
  if (!answer.ok) {
    const problem = await answer.json().catch(() => ({}));
    throw new Refused(answer.status, problem.message ?? answer.statusText);
  }
  return answer;
}

export const get = async (path) => (await open(path, AbortSignal.timeout(10000))).json();

// Calls `on(event, data)` for each event until the stream ends; the server comments every 15 s, so 40 s of silence are
// a broken line.
export async function events(path, opened, on) {
  const ended = new AbortController();
  let silent;
  const alive = () => {
    clearTimeout(silent);
    silent = setTimeout(() => ended.abort(), 40000);
  };
  try {
    alive();
    const answer = await open(path, ended.signal);
    opened();
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const name = /^event: (.*)$/m.exec(block);
        const data = /^data: (.*)$/m.exec(block);
        if (name && data) on(name[1], JSON.parse(data[1]));
      }
    }
  } finally {
    clearTimeout(silent);
    ended.abort();
  }
}
