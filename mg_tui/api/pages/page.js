"use strict";
// Asks for the page again when the server says that it changed, and shows its main part. Nothing is put together here.
(() => {
  const live = document.body.dataset.live;
  const state = document.getElementById("state");
  if (!live || !window.EventSource) return;
  const source = new EventSource(live);
  let changed = false;
  let asking = false;

  const isReading = () => {
    const selection = document.getSelection();
    return document.hidden || (selection !== null && !selection.isCollapsed);
  };

  async function refresh() {
    if (!changed || asking || isReading()) return;
    changed = false;
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      if (answer.redirected) {
        location.assign("/login");
        return;
      }
      if (answer.status === 200 || answer.status === 404) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        document.querySelector("main").replaceWith(page.querySelector("main"));
        document.title = page.title;
      } else {
        changed = true; // too fast, or the server is ending: the next tick tries again
      }
    } catch {
      changed = true;
    } finally {
      asking = false;
    }
  }

  source.addEventListener("changed", () => {
    changed = true;
    refresh();
  });
  source.addEventListener("open", () => {
    state.textContent = "● live";
  });
  source.addEventListener("error", () => {
    state.textContent =
      source.readyState === EventSource.CLOSED ? "not live: reload the page" : "connection lost; trying again";
  });
  document.addEventListener("visibilitychange", refresh);
  document.addEventListener("selectionchange", refresh);
  setInterval(refresh, 5000);
})();
