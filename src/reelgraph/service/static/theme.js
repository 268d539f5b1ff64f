/* Before the first paint: the colours chosen last time. Not a module, since modules wait for the document. */
"use strict";
try {
  const chosen = localStorage.getItem("reelgraph.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be switched off; the system's preference holds then.
}
