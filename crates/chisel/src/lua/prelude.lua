-- What chisels find when they require "common", "ansiterminal" and "dkjson": functions of the names and
-- meanings that sysdig's chisels expect. `nabe` is nabe's own table; it is gone before a chisel runs.

local native = nabe
local modules = {}

-- common ------------------------------------------------------------------------------------------------

function modules.common()
	extend_string = native.extend
	format_bytes = native.bytes
	format_time_interval = native.span

	ONE_S_IN_NS = 1000000000
	ONE_MS_IN_NS = 1000000
	ONE_US_IN_NS = 1000

	function split(text, separator)
		local parts, from = {}, 1
		if separator == "" then
			return { text }
		end
		while true do
			local first, last = string.find(text, separator, from, false)
			if not first or last < first then
				parts[#parts + 1] = string.sub(text, from)
				return parts
			end
			parts[#parts + 1] = string.sub(text, from, first - 1)
			from = last + 1
		end
	end

	function starts_with(text, prefix)
		return string.sub(text, 1, #prefix) == prefix
	end

	function ends_with(text, suffix)
		return suffix == "" or string.sub(text, -#suffix) == suffix
	end

	-- Iterates over the first `count` (0: all) entries in the order that `before(t, a, b)` gives.
	function pairs_top_by_val(values, count, before)
		local order = {}
		for key in pairs(values) do
			order[#order + 1] = key
		end
		table.sort(order, function(a, b)
			return before(values, a, b)
		end)
		local at = 0
		return function()
			at = at + 1
			local key = order[at]
			if key ~= nil and (count == 0 or at <= count) then
				return key, values[key]
			end
		end
	end

	function ts_to_str(seconds, nanoseconds)
		return string.format("%d%09d", seconds, nanoseconds)
	end

	function parse_numeric_input(text, name)
		local number = tonumber(text)
		if number == nil then
			error("argument " .. name .. " must be a number", 0)
		end
		return number
	end

	function copytable(value)
		if type(value) ~= "table" then
			return value
		end
		local copy = {}
		for key, inner in pairs(value) do
			copy[copytable(key)] = copytable(inner)
		end
		return setmetatable(copy, copytable(getmetatable(value)))
	end

	function concattable(to, from)
		for _, value in ipairs(from) do
			to[#to + 1] = value
		end
		return to
	end

	function typeof(value)
		local meta = getmetatable(value)
		if type(meta) == "table" and meta._NAME ~= nil then
			return meta._NAME
		end
		return type(value)
	end

	-- The content of a table as text.
	function st(value, name, inline, depth)
		depth = depth or 0
		local pad, break_ = string.rep(" ", depth), inline and "" or "\n"
		local text = pad .. (name ~= nil and (tostring(name) .. " = ") or "")
		if type(value) == "table" then
			text = text .. "{" .. break_
			for key, inner in pairs(value) do
				text = text .. st(inner, key, inline, depth + 1) .. "," .. break_
			end
			return text .. pad .. "}"
		elseif type(value) == "string" then
			return text .. string.format("%q", value)
		elseif type(value) == "number" or type(value) == "boolean" then
			return text .. tostring(value)
		end
		return text .. "\"(" .. type(value) .. ")\""
	end

	-- Prints what was counted by key, the largest first.
	function print_sorted_table(counts, seconds, nanoseconds, delta, viz)
		local top = pairs_top_by_val(counts, viz.top_number, function(t, a, b)
			return t[b] < t[a]
		end)
		if viz.output_format == "json" then
			local rows, info = {}, {}
			for key, value in top do
				local row = split(key, "\001\001")
				row[#row + 1] = value
				rows[#rows + 1] = row
			end
			for at, field in ipairs(viz.key_fld) do
				info[at] = { name = field, desc = viz.key_desc[at], is_key = true }
			end
			info[#info + 1] = { name = viz.value_fld, desc = viz.value_desc, is_key = false }
			print(native.json({ ts = native.make_ts(seconds, nanoseconds), data = rows, info = info }))
			return
		end
		local title = native.extend(viz.value_desc, 20)
		for _, desc in ipairs(viz.key_desc) do
			title = title .. native.extend(desc, 20)
		end
		print(title)
		print(string.rep("-", 80))
		for key, value in top do
			local text
			if viz.value_units == "bytes" then
				text = native.bytes(value)
			elseif viz.value_units == "time" then
				text = native.span(value)
			elseif viz.value_units == "timepct" then
				text = string.format("%.2f%%", delta > 0 and value / delta * 100 or 0)
			else
				text = tostring(value)
			end
			local line, keys = native.extend(text, 20), split(key, "\001\001")
			for at, part in ipairs(keys) do
				line = line .. (at < #keys and native.extend(part, 20) or part)
			end
			print(line)
		end
	end

	return true
end

-- ansiterminal ------------------------------------------------------------------------------------------

function modules.ansiterminal()
	local terminal = {}
	local codes = {
		reset = 0, clear = 0, bright = 1, dim = 2, underscore = 4, blink = 5, reverse = 7, hidden = 8,
		black = 30, red = 31, green = 32, yellow = 33, blue = 34, magenta = 35, cyan = 36, white = 37,
		onblack = 40, onred = 41, ongreen = 42, onyellow = 43, onblue = 44, onmagenta = 45, oncyan = 46,
		onwhite = 47,
	}
	local function send(text)
		if native.is_tty then
			io.write("\027[" .. text)
		end
	end
	function terminal.enable_color(enabled)
		for name, code in pairs(codes) do
			terminal[name] = (enabled and native.color) and ("\027[" .. code .. "m") or ""
		end
	end
	function terminal.clearscreen() send("2J") end
	function terminal.moveto(x, y) send(x .. ";" .. y .. "H") end
	function terminal.moveup(lines) send(lines .. "F") end
	function terminal.clearline() send("2K") end
	function terminal.hidecursor() send("?25l") end
	function terminal.showcursor() send("?25h") end
	function terminal.setfgcol(color) send("38;5;" .. color .. "m") end
	function terminal.setbgcol(color) send("48;5;" .. color .. "m") end
	terminal.enable_color(false)
	return terminal
end

-- dkjson ------------------------------------------------------------------------------------------------

function modules.dkjson()
	return {
		encode = function(value)
			return native.json(value)
		end,
		null = setmetatable({}, { __tostring = function() return "null" end }),
	}
end

return modules
