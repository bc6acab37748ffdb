"use strict";
// Light or dark: as the system has it until the button is pressed, then as chosen.
{
  const button = document.getElementById("theme"), system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  try { // a browser may keep no storage for files
    chosen = localStorage.getItem("theme");
  } catch {}
  const show = () => {
    const theme = chosen ?? (system.matches ? "dark" : "light"), other = theme === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    button.textContent = other === "dark" ? "Dark" : "Light";
    button.setAttribute("aria-label", `${button.textContent}: switch to ${other} colours`);
  };
  show();
  system.addEventListener("change", show);
  button.addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    show();
    try {
      localStorage.setItem("theme", chosen);
    } catch {}
  });
}
