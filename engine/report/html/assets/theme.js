// Light or dark: as the system says, until the button is pressed.

const darkSystem = matchMedia("(prefers-color-scheme: dark)");

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : darkSystem.matches;
}

/** Let the button change the theme; `onChange` is called after every change, the system's included. */
function startTheme(onChange) {
  const button = document.getElementById("theme");
  const show = () => {
    button.textContent = isDark() ? "light" : "dark";
    button.setAttribute("aria-label", `use ${button.textContent} colours`);
    onChange();
  };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    show();
  });
  darkSystem.addEventListener("change", show);
  show();
}

/** A colour of the style sheet as it is now. */
function colourOf(name) {
  const probe = element("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}
