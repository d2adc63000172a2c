// What pages do beyond HTML: copies values, shows times in the reader's zone. Pages work without it.
"use strict";
(() => {
    const said = () => document.getElementById("said") || (() => {
        const region = document.createElement("div");
        region.id = "said";
        region.className = "visually-hidden";
        region.setAttribute("aria-live", "polite");
        document.body.append(region);
        return region;
    })();

    // Copy buttons, and fields that select themselves.
    document.addEventListener("click", async (event) => {
        const button = event.target.closest("[data-copy]");
        if (!button) return;
        try {
            await navigator.clipboard.writeText(button.dataset.copy);
        } catch {
            // Without a secure context there is no clipboard to write to.
            const area = document.createElement("textarea");
            area.value = button.dataset.copy;
            document.body.append(area);
            area.select();
            document.execCommand("copy");
            area.remove();
            button.focus();
        }
        const text = button.dataset.text || (button.dataset.text = button.textContent);
        button.textContent = "Copied";
        said().textContent = "Copied";
        setTimeout(() => { button.textContent = text; said().textContent = ""; }, 1500);
    });

    // Times.
    const near = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
    const far = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
    const shown = (root) => {
        for (const time of root.querySelectorAll("time[datetime]")) {
            const date = new Date(time.dateTime);
            if (Number.isNaN(date.getTime())) continue;
            const isToday = date.toDateString() === new Date().toDateString();
            time.textContent = (isToday ? near : far).format(date);
            time.title = date.toString();
        }
    };
    document.addEventListener("DOMContentLoaded", () => shown(document));
    document.addEventListener("htmx:load", (event) => shown(event.target.parentElement || document));
})();
