-- Requests for wrk: texts of 14 to 18 tokens, in turn.
local texts = {
    "please tell me what the weather is like today in the world",
    "how do i change the name on my order this month please",
    "write a python function to reverse a string and return it",
    "explain to me why my package is late again this week please",
    "what is the meaning of this word in another language and why",
    "give me a summary of the text in as few words as you could",
    "i would like to book a trip for two this month or the next one",
    "compare the price of my plan with a new plan for more money",
}
local requests, at = {}, 0

function init()
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
    for index, text in ipairs(texts) do
        local body = string.format('{"text": "%s"}', text)
        requests[index] = wrk.format(nil, "/api/v1/intents/classify", nil, body)
    end
end

function request()
    at = at % #requests + 1
    return requests[at]
end

function done(summary, latency)
    local failed = summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.status
        + summary.errors.timeout
    io.write(string.format("figures %.1f %.3f %.3f %d\n", summary.requests / summary.duration * 1e6,
        latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, failed))
end
