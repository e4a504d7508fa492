// The numbers that a command line of the baseline may hold.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline uint64_t ParseNumber(const std::string& option, const std::string& text, uint64_t most) {
  const bool digits = text.find_first_not_of("0123456789") == std::string::npos;
  if (text.empty() || text.size() > 12 || !digits || std::stoull(text) < 1 ||
      std::stoull(text) > most) {
    throw UsageError(option + " takes 1 to " + std::to_string(most) + ", not \"" + text + "\"");
  }
  return std::stoull(text);
}

inline std::vector<uint64_t> ParseList(const std::string& option, const std::string& text,
                                uint64_t most) {
  std::vector<uint64_t> numbers;
  std::istringstream parts(text + ",");
  for (std::string part; std::getline(parts, part, ',');) {
    numbers.push_back(ParseNumber(option, part, most));
  }
  return numbers;
}

inline double ParseSeconds(const std::string& text) {
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(seconds > 0 && seconds <= 86400)) {
    throw UsageError("--seconds takes more than 0 and at most 86400, not \"" + text + "\"");
  }
  return seconds;
}
