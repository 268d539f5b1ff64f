/* Applies the mode chosen last time before the first paint. Not a module, because modules wait for the document. */
"use strict";
try {
  const chosen = localStorage.getItem("reelgraph.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Without storage the system's preference applies.
}
