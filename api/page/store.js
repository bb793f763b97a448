// What this browser remembers: the theme for long, a key as long as the tab is open. Where it may not, the page does.

const inMemory = new Map();

function kept(area, name) {
  return {
    get() {
      try {
        return window[area].getItem(name) ?? "";
      } catch {
        return inMemory.get(name) ?? "";
      }
    },
    set(text) {
      try {
        if (text) window[area].setItem(name, text);
        else window[area].removeItem(name);
      } catch {
        inMemory.set(name, text);
      }
    },
  };
}

export const theme = kept("localStorage", "bnlab-theme");
export const key = kept("sessionStorage", "bnlab-api-key");
