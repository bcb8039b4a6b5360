/* The proleptic Gregorian calendar as arithmetic: days since 1970-01-01 to year, month, day and
 * back. Pure, no tables of years, exact for the years 0 to 9999. */
#ifndef ORRERY_CLOCK_CALENDAR_H
#define ORRERY_CLOCK_CALENDAR_H

#include "base/base.h"

#define SECONDS_PER_DAY INT64_C(86400)

struct civil_date {
    int32_t year;
    uint32_t month; /* 1 to 12 */
    uint32_t day;   /* 1 to 31 */
};

static inline bool year_is_leap(int32_t year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

/* `month` is 1 to 12. */
static inline uint32_t month_length(int32_t year, uint32_t month) {
    /* Two bits a month above 28: Jan 3, Feb 0, Mar 3, Apr 2 … */
    return 28 + ((UINT32_C(0x3bbeecc) >> (month * 2)) & 3) + (month == 2 && year_is_leap(year));
}

/* Days since 1970-01-01. Years are counted from 1 March, so that the leap day is a year's last. */
static inline int32_t days_from_date(int32_t year, uint32_t month, uint32_t day) {
    uint32_t march_year = (uint32_t)year - (month <= 2);
    uint32_t march_month = month <= 2 ? month + 9 : month - 3;
    uint32_t leap_days = march_year / 4 - march_year / 100 + march_year / 400;
    uint32_t day_of_year = (153 * march_month + 2) / 5 + day - 1;
    return (int32_t)(march_year * 365 + leap_days + day_of_year) - 719468;
}

/* The date of a day, by the Euclidean affine functions of Neri and Schneider ("Euclidean affine
 * functions and their application to calendar algorithms", 2022): multiplications and shifts in
 * place of divisions by 1461 and 153. */
static inline struct civil_date date_from_days(int32_t days) {
    uint32_t since_march_0000 = (uint32_t)(days + 719468);
    uint32_t quarters = 4 * since_march_0000 + 3;
    uint32_t century = quarters / 146097;
    uint32_t in_century = quarters % 146097 | 3;
    uint64_t product = (uint64_t)2939745 * in_century;
    uint32_t year_of_century = (uint32_t)(product >> 32);
    uint32_t day_of_year = (uint32_t)product / 2939745 / 4;
    uint32_t scaled = 2141 * day_of_year + 197913;
    uint32_t after_december = day_of_year >= 306;
    return (struct civil_date){
        .year = (int32_t)(100 * century + year_of_century + after_december),
        .month = (scaled >> 16) - (after_december ? 12 : 0),
        .day = (scaled & 0xffff) / 2141 + 1,
    };
}

/* 0 is Sunday. Right for days from 1 January of year 0. */
static inline uint32_t weekday_of_day(int32_t days) { return (uint32_t)(days + 719468 + 3) % 7; }

/* Division that rounds down, for a positive divisor. */
static inline int64_t floor_divide(int64_t dividend, int64_t divisor) {
    return dividend / divisor - (dividend % divisor < 0);
}

#endif
