// Asks this server again and again, while the page is seen; says when it does not answer.

export async function ask(path) {
  const answer = await fetch(path, { cache: "no-cache", headers: { Accept: "application/json" } });
  if (answer.status === 401) throw new Error("this server wants its token: open /?token=TOKEN");
  let value = null;
  try { value = await answer.json(); } catch { /* words, not JSON */ }
  if (value && value.error) throw Object.assign(new Error(`${value.error.place}: ${value.error.fault}`), { fix: value.error.fix });
  if (!answer.ok || value === null) throw new Error(`the server says ${answer.status}`);
  const date = answer.headers.get("Date");
  return { value, tag: answer.headers.get("ETag"), now: date ? new Date(date) : new Date() };
}

const SOON = 100;

/** Call `show` with each answer that is another one, and `age` with every one.
 * One that says it is a part is asked again at once. */
export function watch(path, every, { show, age, fail }) {
  let tag = null, misses = 0, timer = 0, over = false;
  const turn = async () => {
    timer = 0;
    if (document.hidden || over) return;
    let isPart = false;
    try {
      const answer = await ask(path);
      const again = misses > 0;
      isPart = answer.value.part === true;
      misses = 0;
      if (answer.tag === null || answer.tag !== tag || again) { tag = answer.tag; show(answer.value, answer.now); }
      if (age) age(answer.now);
    } catch (error) {
      misses += 1;
      fail(error, misses);
    }
    if (!over) timer = setTimeout(turn, isPart ? SOON : Math.min(every * 2 ** Math.min(misses, 3), 15000));
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !timer) turn(); });
  turn();
  return () => { over = true; clearTimeout(timer); };
}
