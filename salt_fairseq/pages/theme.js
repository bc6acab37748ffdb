"use strict";
// Light or dark: as the system has it until the button is pressed, then as chosen.
{
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const remembered = (theme) => {
    try { // a browser may keep no storage for files
      if (theme) localStorage.setItem("theme", theme);
      return localStorage.getItem("theme");
    } catch {
      return theme;
    }
  };
  const show = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
  };
  const preferred = () => (system.matches ? "dark" : "light");
  show(remembered() ?? preferred());
  system.addEventListener("change", () => remembered() ?? show(preferred()));
  button.addEventListener("click", () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    remembered(theme);
    show(theme);
  });
}
